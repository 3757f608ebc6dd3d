// SPDX-License-Identifier: Apache-2.0

// Text, maps, compression, sorting and channels, in two goroutines; for ever.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
)

type row struct {
	Name  string
	Value int
	More  []string
}

var words = regexp.MustCompile(`"(\w+)":(\d+)`)

func text(lines int) []byte {
	rows := make([]row, lines)
	for i := range rows {
		rows[i] = row{fmt.Sprint("n", i), i, []string{"a", fmt.Sprint(i)}}
	}
	encoded, _ := json.Marshal(rows)
	var decoded []row
	_ = json.Unmarshal(encoded, &decoded)
	sort.Slice(decoded, func(i, j int) bool { return decoded[i].Name > decoded[j].Name })
	found := words.FindAllSubmatch(encoded, -1)
	sums := map[string]int{}
	for _, match := range found {
		sums[string(match[2])]++
	}
	return encoded
}

func packed(plain []byte) int {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, _ = writer.Write(plain)
	_ = writer.Close()
	digest := sha256.Sum256(buffer.Bytes())
	return buffer.Len() + int(digest[0])
}

func main() {
	texts := make(chan []byte)
	go func() {
		for {
			texts <- text(1000)
		}
	}()
	total := 0
	for plain := range texts {
		total += packed(plain)
	}
}
