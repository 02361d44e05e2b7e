# Fills a manual page: a line "@NAME@" is replaced by the file NAME in the folder `parts`.
/^@[a-z0-9]+@$/ {
	file = parts "/" substr($0, 2, length($0) - 2)
	while ((getline line < file) > 0) {
		print line
		any = 1
	}
	if (!any) {
		print file " is empty" > "/dev/stderr"
		exit 1
	}
	any = 0
	next
}
{ sub(/@DATE@/, date); print }
