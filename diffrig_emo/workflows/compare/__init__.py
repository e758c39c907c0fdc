"""Any set of systems on the same faces: figures with intervals, paired tests, costs, and a page to look at."""
