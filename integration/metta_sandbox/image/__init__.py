"""What nodes are made of: the base image, the packages of a wheelhouse, the image built of both."""
