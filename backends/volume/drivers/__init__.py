"""What can keep the bytes of disks."""
