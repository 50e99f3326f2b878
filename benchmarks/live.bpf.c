// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/* The ends of the test track for whole frames: the source and the sink. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct track {
	__u64 arrived;
	__u64 first; /* ns, when the first frame left; 0: none has */
	__u64 last;  /* ns, when the last one arrived */
	__u32 egress; /* interface index */
};

struct track track SEC(".data.track");

static __always_inline void arrive(void)
{
	__sync_fetch_and_add(&track.arrived, 1);
	track.last = bpf_ktime_get_ns();
}

/* Send the frames that `prepare` in frames.bpf.c has written. */
SEC("xdp")
int hand_over(struct xdp_md *context)
{
	if (!track.first)
		track.first = bpf_ktime_get_ns();
	return bpf_redirect(track.egress, 0);
}

SEC("xdp")
int sink_xdp(struct xdp_md *context)
{
	arrive();
	return XDP_DROP;
}

SEC("tc")
int sink_tc(struct __sk_buff *context)
{
	arrive();
	return TC_ACT_SHOT;
}
