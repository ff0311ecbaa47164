"""What `jobs.status` looks at, and how it tells of it: a cluster's REST interface, its gauges, and runs' own files."""
