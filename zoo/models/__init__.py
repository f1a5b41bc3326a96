"""Networks: families, the blocks they share, methods that replace parts."""
