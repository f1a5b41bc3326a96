"""What is wrong with data sets, for `zoo-data-check`."""

from training.data.audit.findings import Part as Part
from training.data.audit.findings import classes as classes
from training.data.audit.findings import copies as copies
from training.data.audit.findings import near_copies as near_copies
from training.data.audit.findings import read as read
from training.data.audit.findings import summary as summary
