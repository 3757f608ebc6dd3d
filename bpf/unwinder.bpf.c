// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The sampler with whole user stacks: unwind tables, and frame pointers where there are none. */
#include "sample.h"
#include "unwind.h"

static __always_inline void walk_user_stack(struct unwinding *u, struct ranges *first)
{
	unwind_stack(u, first);
}
