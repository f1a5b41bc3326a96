# Programs of their own, for a Python with torch and timm, or with keras_hub.
collect_ignore = ["timm_networks.py", "hub_networks.py"]
