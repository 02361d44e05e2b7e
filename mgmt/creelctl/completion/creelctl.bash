# bash completion for creelctl(1). creelctl itself knows what can come next.

_creelctl()
{
	local line word=${COMP_WORDS[COMP_CWORD]}

	COMPREPLY=()
	[[ $word == "=" ]] && word=
	while IFS= read -r line; do
		if [[ $line == :files ]]; then
			compopt -o filenames 2>/dev/null
			mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word")
		else
			COMPREPLY+=("${line%%$'\t'*}")
		fi
	done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _creelctl creelctl
