"""Between the data plane and the kernel: libbpf, BTF, layouts, loading, pins, attaching."""
