# SPDX-License-Identifier: Apache-2.0
"""Rules, their numbers, and tables."""

from __future__ import annotations

from array import array

from collector.unwind.rows import (
    BOTTOM,
    BOTTOM_ID,
    END,
    END_ID,
    MAX_RULES,
    OFFSET_LIMIT,
    UNSUPPORTED,
    UNSUPPORTED_ID,
    Cfa,
    Row,
    Rule,
    Rules,
    Saved,
    loaded,
    table_of,
)


def test_a_rule_gets_one_number():
    rules = Rules()
    first, second = Rule(Cfa.STACK, 8), Rule(Cfa.STACK, 8, Saved.AT, -16)
    assert [rules.number(rule) for rule in (first, second, first)] == [3, 4, 3]
    assert rules.all()[3:] == (first, second)


def test_three_rules_have_the_same_number_everywhere():
    rules = Rules()
    assert rules.all() == (END, BOTTOM, UNSUPPORTED)
    assert [rules.number(rule) for rule in rules.all()] == [END_ID, BOTTOM_ID, UNSUPPORTED_ID]


def test_an_offset_that_no_row_can_hold_is_unsupported():
    rules = Rules()
    assert rules.number(Rule(Cfa.STACK, OFFSET_LIMIT)) == UNSUPPORTED_ID
    assert rules.number(Rule(Cfa.STACK, 8, Saved.AT, -OFFSET_LIMIT)) == UNSUPPORTED_ID
    assert rules.number(Rule(Cfa.STACK, OFFSET_LIMIT - 1)) == 3


def test_two_offsets_in_one():
    assert loaded(Cfa.STACK_LOADED, 40, 8).offset == 8 << 16 | 40
    assert loaded(Cfa.STACK_LOADED, -8, -1).offset == -8
    assert loaded(Cfa.FRAME_LOADED, 0, -32768).offset == -(1 << 31)
    assert loaded(Cfa.STACK_LOADED, 32768, 0) == loaded(Cfa.STACK_LOADED, 0, -32769) == UNSUPPORTED


def test_one_rule_too_many_is_unsupported():
    rules = Rules()
    numbers = {rules.number(Rule(Cfa.STACK, offset)) for offset in range(MAX_RULES)}
    assert len(rules.all()) == MAX_RULES == max(numbers) + 1
    assert rules.number(Rule(Cfa.FRAME, 1)) == UNSUPPORTED_ID


def test_a_table_answers_by_address_and_is_iterated_as_rows():
    rules = Rules()
    rule = Rule(Cfa.STACK, 8)
    table = table_of([(16, rules.number(rule)), (32, END_ID)], rules, 0)
    assert list(table) == [Row(16, rule), Row(32, END)]
    assert [table.rule_at(at) for at in (0, 15, 16, 31, 32)] == [END, END, rule, rule, END]
    assert isinstance(table.addresses, array)
    assert table.numbers.itemsize == 2
    assert len(table) == 2
