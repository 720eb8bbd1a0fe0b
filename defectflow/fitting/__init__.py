"""Check the pictures, fit, publish: from a recipe and a folder of good parts to a bundle."""

from defectflow.fitting.align import align
from defectflow.fitting.check import check_data
from defectflow.fitting.embed import embed_pictures
from defectflow.fitting.findings import DataCheck
from defectflow.fitting.fit import fit
from defectflow.fitting.fit_products import FittedProducts, add_products, fit_products

__all__ = [
    "DataCheck",
    "FittedProducts",
    "add_products",
    "align",
    "check_data",
    "embed_pictures",
    "fit",
    "fit_products",
]
