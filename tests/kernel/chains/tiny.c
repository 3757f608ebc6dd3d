// SPDX-License-Identifier: Apache-2.0
/* A library of functions so short that the way to them takes much of the time. */
static volatile int calls;

__attribute__((noipa)) int tinier(int value)
{
	calls++;
	calls++;
	return value;
}

__attribute__((noipa)) int tiny(int value)
{
	calls++;
	calls++;
	value = tinier(value);
	calls++;
	return value + 1;
}
