"""Files that commands read and write: images (the only user of OpenCV), runs and their manifests."""
