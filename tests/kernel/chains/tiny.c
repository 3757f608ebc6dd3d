// SPDX-License-Identifier: Apache-2.0
/* A library of functions so short that the way to them takes much of the time. */
static volatile int calls;

__attribute__((noipa)) int tinier(int value)
{
	for (int i = 0; i < 4; i++)
		calls++;
	return value;
}

__attribute__((noipa)) int tiny(int value)
{
	return tinier(value) + 1;
}
