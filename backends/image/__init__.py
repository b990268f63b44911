"""Images: what a guest's disks are made from, and who may use them."""
