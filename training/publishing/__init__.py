"""From the folder of a training to a published one."""
