// SPDX-License-Identifier: Apache-2.0
// What node does in JavaScript and what it does in native code, by turns; for ever.
const crypto = require("crypto");
const zlib = require("zlib");

function fibonacci(n) {
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

function text(lines) {
	const rows = Array.from({ length: lines }, (_, i) => ({ name: `n${i}`, value: i }));
	const words = JSON.stringify(rows);
	const found = [...words.matchAll(/"(\w+)":(\d+)/g)].map((match) => match[2]);
	JSON.parse(words);
	return found.sort((a, b) => (a < b ? -1 : 1)).join(" ");
}

function native(words) {
	crypto.createHash("sha256").update(words).digest("hex");
	new Function(`return ${words.length} + ${Math.random()}`)();
}

// in threads of its own
function aside(words, then) {
	zlib.deflate(words, (_, packed) => zlib.inflate(packed, then));
	crypto.pbkdf2(words.slice(0, 100), "salt", 20000, 64, "sha512", () => {});
}

function turn() {
	const words = text(1000);
	fibonacci(18);
	native(words);
	aside(words.repeat(20), turn);
}
turn();
