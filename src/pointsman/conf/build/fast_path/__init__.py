"""Build many alike virtual servers by a compiled pattern."""
