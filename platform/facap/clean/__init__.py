"""What nothing in a workspace refers to: found, told apart from what something does, and removed."""
