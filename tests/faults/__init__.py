"""What attar does when the machine fails it: killed processes, failing disks, lost power, rotten bytes, rivals."""
