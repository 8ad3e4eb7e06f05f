"""Policies: what the host does to each record before it joins a batch, one file each."""
