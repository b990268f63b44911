"""EBS direct: the blocks of snapshots."""
