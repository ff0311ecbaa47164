"""What sending a job to a cluster is made of: the code that travels, and why a job does not start."""
