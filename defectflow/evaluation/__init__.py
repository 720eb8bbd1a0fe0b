"""A bundle and labelled pictures -> AUROC, AUPRO, overkill and escape with intervals. Chooses nothing."""
