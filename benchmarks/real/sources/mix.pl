# SPDX-License-Identifier: Apache-2.0
# Text, hashes, sorting and numbers; for ever.
use strict;
use warnings;

sub fibonacci { my $n = shift; return $n < 2 ? $n : fibonacci($n - 1) + fibonacci($n - 2); }

sub text {
    my %seen;
    my $words = join " ", map { "key$_ = " . $_ * 7 } 1 .. 2000;
    $seen{$1} += $2 while $words =~ /(\w+)\s*=\s*(\d+)/g;
    my @ordered = sort { reverse($a) cmp reverse($b) } keys %seen;
    (my $changed = $words) =~ s/(\d+)/$1 * 2/ge;
    return length($changed) + @ordered;
}

while (1) { text(); fibonacci(15); }
