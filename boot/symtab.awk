# nm -n of the linked image in, an assembler table of its functions out, for hv/symbols.c.
# The first pass has no input: an empty table. Offsets are from the start of .text; the assembler
# does the arithmetic.
$2 ~ /^[tT]$/ && $3 !~ /^(image_text|\.)/ {
	address[++n] = $1
	name[n] = $3
}
$3 == "image_text" { text = $1 }
END {
	print "\t.section .rodata.symbols, \"a\", @progbits"
	print "\t.balign 4"
	print "\t.globl symbol_table, symbol_count, symbol_names"
	print "\t.hidden symbol_table, symbol_count, symbol_names"
	print "symbol_table:"
	for (i = 1; i <= n; i++)
		printf "\t.long 0x%s - 0x%s, .Lname_%d - symbol_names\n", address[i], text, i
	print "symbol_count:\n\t.long " n + 0
	print "symbol_names:"
	for (i = 1; i <= n; i++)
		printf ".Lname_%d:\t.asciz \"%s\"\n", i, name[i]
	print "\t.section .note.GNU-stack, \"\", @progbits"
}
