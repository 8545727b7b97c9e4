"""The embedded platform: the cluster's manifests run on one machine."""
