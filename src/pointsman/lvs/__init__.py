"""The core of load balancing: desired table, reconcile, ipvsadm's language."""
