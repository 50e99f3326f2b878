"""The VRRP process: instances, adverts, addresses that move."""
