"""What turns prepared tensors into features, a file for each kind."""
