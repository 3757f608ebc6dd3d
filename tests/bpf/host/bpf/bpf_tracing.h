/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing of libbpf's header of this name is needed on this machine. */
