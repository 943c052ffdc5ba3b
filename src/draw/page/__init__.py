"""An interactive page where a trained model draws in the browser.

site.py         builds the page's folder, for `PageServer` or any static host
server.py       serves that folder to this computer only
trace_file.py   writes the JSON files from which the page plays a film without running a model
static/         the page: plain HTML, CSS and JavaScript modules, without a build step
"""

from draw.page.server import PageServer
from draw.page.site import build_site
from draw.page.trace_file import write_trace_file

__all__ = ["PageServer", "build_site", "write_trace_file"]
