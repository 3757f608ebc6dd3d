// SPDX-License-Identifier: Apache-2.0
//! rusty MODE: `deep` is a chain of 60 calls; `panic` unwinds twelve of them, each with a value
//! to drop, until it is caught. Runs until it is killed.
use std::hint::black_box;
use std::panic;

fn burn(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn leaf() {
    burn(50_000);
    black_box(());
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn dropping() {
    burn(5_000);
    black_box(());
}

struct Guard;

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        dropping();
    }
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn descend(n: u64, a: u64, b: u64) -> u64 {
    let block = black_box([n; 32]);
    if n == 1 {
        leaf();
    } else {
        black_box(descend(n - 1, b, a) + b);
    }
    block[(a & 31) as usize] + a
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn unwinding(n: u64) {
    let _guard = Guard;
    if n == 1 {
        panic::resume_unwind(Box::new(n));
    }
    unwinding(n - 1);
    black_box(());
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn catching() {
    black_box(panic::catch_unwind(|| unwinding(12)).is_err());
}

#[no_mangle]
#[inline(never)]
pub extern "C-unwind" fn root(deep: bool) {
    loop {
        if deep {
            black_box(descend(60, 1, 2));
        } else {
            catching();
        }
    }
}

fn main() {
    root(std::env::args().nth(1).as_deref() != Some("panic"));
}
