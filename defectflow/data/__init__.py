"""Folders, trees and manifests -> pictures -> parts -> train, tune, calibration and test. Never torch."""

from defectflow.data.duplicates import Distinct, Pairs, distinct, near_duplicates
from defectflow.data.find import MANIFEST, Found, find_pictures, look_through
from defectflow.data.layouts import is_test_folder, label_of_folders
from defectflow.data.manifest import SUFFIXES, manifest_rows
from defectflow.data.manifest_pictures import write_manifest
from defectflow.data.pictures import (
    PartNames,
    Picture,
    meant_for_fitting,
    part_of,
    printable,
    stem_of,
    test_pictures,
)
from defectflow.data.siblings import Siblings, find_siblings
from defectflow.data.splits import (
    Checked,
    Rejected,
    Splits,
    check_readable,
    common_size,
    fix_full_scale,
    fold_by_part,
    full_scale_notes,
    split_parts,
)
from defectflow.data.stream import Archive, Listed, is_url, open_store

__all__ = [
    "MANIFEST",
    "SUFFIXES",
    "Archive",
    "Checked",
    "Distinct",
    "Found",
    "Listed",
    "Pairs",
    "PartNames",
    "Picture",
    "Rejected",
    "Siblings",
    "Splits",
    "check_readable",
    "common_size",
    "distinct",
    "find_pictures",
    "find_siblings",
    "fix_full_scale",
    "fold_by_part",
    "full_scale_notes",
    "is_test_folder",
    "is_url",
    "label_of_folders",
    "look_through",
    "manifest_rows",
    "meant_for_fitting",
    "near_duplicates",
    "open_store",
    "part_of",
    "printable",
    "refit_manifest",
    "split_parts",
    "stem_of",
    "test_pictures",
    "write_manifest",
]
