# Makes parts of libcreel(3) out of creel.h. With -v part=introduction: the comment at its top.
# Else: its sections, comments, types and functions, from the line behind `extern "C" {` to that
# before its end.

function escape(s) {
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	gsub(/"/, "\\(dq", s)
	gsub(/~/, "\\(ti", s)
	return s
}

# A line of running text; sentences begin on lines of their own.
function prose(s) {
	s = escape(s)
	gsub(/[.] +/, ".\n", s)
	gsub(/\n[.']/, "\n\\\\\\&&", s)
	if (s ~ /^[.']/)
		s = "\\&" s
	print s
}

# The comment as paragraphs; what is indented in it is shown as it is.
function print_comment(    i, n, part, inside, line) {
	n = split(comment, part, "\n")
	for (i = 1; i <= n; i++) {
		line = part[i]
		if (line ~ /^(    |\t)/ && !inside) {
			print ".Bd -literal -offset indent"
			inside = 1
		} else if (line !~ /^(    |\t)/ && line != "" && inside) {
			print ".Ed"
			inside = 0
		}
		if (inside)
			print escape(line)
		else if (line == "")
			print ".Pp"
		else
			prose(line)
	}
	if (inside)
		print ".Ed"
	comment = ""
}

# Splits at the commas that are not in brackets.
function print_function(text,    open, name, rest, i, c, deep, arg) {
	gsub(/[ \t\n]+/, " ", text)
	sub(/ $/, "", text)
	sub(/^CREEL_API /, "", text)
	open = index(text, "(")
	name = substr(text, 1, open - 1)
	rest = substr(text, open + 1)
	sub(/\);$/, "", rest)
	printf ".It Fn \"%s\"", name
	for (i = 1; i <= length(rest) + 1; i++) {
		c = substr(rest, i, 1)
		deep += (c == "(") - (c == ")")
		if (c == "" || (c == "," && !deep)) {
			sub(/^ /, "", arg)
			printf " \"%s\"", arg
			arg = ""
		} else {
			arg = arg c
		}
	}
	print ""
}

# Functions, the first of which the comment is about.
function flush() {
	if (functions) {
		if (!in_list)
			print ".Bl -tag -width Ds"
		in_list = 1
		for (f = 1; f <= functions; f++) {
			print_function(prototype[f])
			if (comment != "")
				print_comment()
		}
		functions = 0
	} else if (comment != "") {
		end_list()
		print ".Pp"
		print_comment()
	}
}

function end_list() {
	if (in_list)
		print ".El"
	in_list = 0
}

part == "introduction" && /^ \*\/$/ { print_comment(); exit }
part == "introduction" {
	sub(/^ \* ?/, "")
	# not its title
	if (NR > 3)
		comment = comment (comment == "" ? "" : "\n") $0
	next
}

/^extern "C" \{/ { begun = 1; getline; next }
!begun { next }
/^#ifdef __cplusplus/ { exit }
/^#define CREEL_API/ { next }

/^\/\* ---- .* ---- \*\/$/ {
	flush()
	end_list()
	sub(/^\/\* ---- /, "")
	sub(/ ---- \*\/$/, "")
	print ".Ss " toupper(substr($0, 1, 1)) substr($0, 2)
	next
}

collecting == "comment" || /^\/\*/ {
	if (collecting != "comment")
		flush()
	collecting = "comment"
	over = /\*\/$/
	sub(/ ?\*\/$/, "")
	sub(/^\/\*+ ?/, "")
	sub(/^ \* ?/, "")
	if ($0 != "" || (comment != "" && !over))
		comment = comment (comment == "" ? "" : "\n") $0
	if (over)
		collecting = ""
	next
}

collecting == "function" || /^CREEL_API/ {
	if (collecting != "function")
		prototype[++functions] = ""
	prototype[functions] = prototype[functions] $0 "\n"
	collecting = /;$/ ? "" : "function"
	next
}

/^#define/ {
	flush()
	end_list()
	print ".Dl " escape($0)
	next
}

collecting == "type" || /^(struct|enum) .*\{/ || /^struct [a-z_]*;/ {
	if (collecting != "type") {
		flush()
		end_list()
		print ".Bd -literal"
	}
	print escape($0)
	collecting = /;$/ && !/^\t/ ? "" : "type"
	if (collecting == "")
		print ".Ed"
	next
}

/^$/ { flush() }
END { flush(); end_list() }
