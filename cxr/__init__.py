"""What the stages and the service of the chest X-ray pipeline share."""
