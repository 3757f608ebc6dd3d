// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The sampler for kernels whose verifier refuses the unwinder: user stacks by frame pointer. */
#include "sample.h"

/* At [fp] lies the caller's frame pointer, at [fp + 8] the return address. */
static __always_inline void walk_user_stack(struct unwinding *u, struct ranges *first)
{
	if (!emit(u, first))
		return;
	for (int i = 0; i < MAX_FRAMES; i++) {
		__u64 frame[2], fp = u->fp;

		if (u->fp == 0) {
			ends(u, STACK_COMPLETE);
			return;
		}
		if (u->fp & 7) {
			ends(u, STACK_BAD_FRAME_POINTER);
			return;
		}
		if (!load_word(u, u->fp, &frame[0]) || !load_word(u, u->fp + 8, &frame[1])) {
			ends(u, STACK_UNREADABLE);
			return;
		}
		u->ip = frame[1];
		u->fp = frame[0];	/* before emit(): a walk that ends there may go on */
		u->flags = IP_BEHIND;
		if (!emit(u, first))
			return;
		u->by_frame_pointer++;
		if (u->fp && u->fp <= fp) {
			ends(u, STACK_BAD_FRAME_POINTER);
			return;
		}
	}
}
