"""What tests share: waiting, and servers that they start."""
