import sys

# The numbers of segmentation offload and its neighbours mean something else on other systems.
collect_ignore = [] if sys.platform == "linux" else ["test_udp_linux.py"]
