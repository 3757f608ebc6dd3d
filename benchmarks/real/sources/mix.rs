// SPDX-License-Identifier: Apache-2.0
//! Text, maps, sorting, recursion and threads that end; for ever.
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::thread;

fn fibonacci(n: u32) -> u32 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

fn text(lines: usize) -> usize {
    let words: Vec<String> = (0..lines).map(|i| format!("key{i} = {}", i * 7)).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for word in &words {
        if let Some((key, value)) = word.split_once(" = ") {
            *seen.entry(key).or_default() += value.parse::<usize>().unwrap();
        }
    }
    let mut ordered: Vec<_> = seen.into_iter().collect();
    ordered.sort_by(|a, b| b.0.cmp(a.0));
    let tree: BTreeMap<_, _> = ordered.into_iter().collect();
    tree.values().sum::<usize>() + words.join(" ").to_uppercase().len()
}

fn main() {
    loop {
        let threads: Vec<_> = (0..2).map(|_| thread::spawn(|| text(20_000))).collect();
        black_box(fibonacci(20));
        for thread in threads {
            black_box(thread.join().unwrap());
        }
    }
}
