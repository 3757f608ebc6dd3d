// SPDX-License-Identifier: Apache-2.0
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Text, maps, sorting and recursion: so many turns, or for ever. */
public class Mix {
    static final Pattern WORDS = Pattern.compile("(\\w+)\\s*=\\s*(\\d+)");

    static int fibonacci(int n) {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    }

    static int text(int lines) {
        StringBuilder words = new StringBuilder();
        for (int i = 0; i < lines; i++) words.append("key").append(i).append(" = ").append(i).append(' ');
        Map<String, Integer> seen = new HashMap<>();
        Matcher matcher = WORDS.matcher(words);
        while (matcher.find()) seen.merge(matcher.group(1), Integer.parseInt(matcher.group(2)), Integer::sum);
        ArrayList<String> ordered = new ArrayList<>(seen.keySet());
        Collections.sort(ordered);
        return ordered.size();
    }

    public static void main(String[] arguments) {
        int turns = arguments.length > 0 ? Integer.parseInt(arguments[0]) : Integer.MAX_VALUE;
        long sum = 0;
        for (int i = 0; i < turns; i++) sum += text(500) + fibonacci(15);
        System.out.println(sum);
    }
}
