"""What becomes of rows: JSON lines, tables, figures and a page."""

from training.report.boxes import plot_severity as plot_severity
from training.report.figures import plot_ensemble_size as plot_ensemble_size
from training.report.figures import save_figure as save_figure
from training.report.page import html as html
from training.report.rows import read_rows as read_rows
from training.report.rows import write_rows as write_rows
from training.report.tables import markdown as markdown
from training.report.tables import rich_table as rich_table
from training.report.tables import summary as summary
from training.report.tables import table as table
from training.report.tables import write_summary as write_summary
from training.report.tables import write_table as write_table
