"""Images, labels and names of classes from files, as they are published."""
