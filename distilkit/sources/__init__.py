"""Data of one's own: files, folders, tables in memory and data sets of the hub, as rows of text, labels and paths."""

from distilkit.sources.data import Data
from distilkit.sources.reading import read_data
from distilkit.sources.reports import Listing, Report, write_csv

__all__ = ["Data", "Listing", "Report", "read_data", "write_csv"]
