// What `replica completions SHELL` prints: a few lines that ask the program itself, so that they never go stale.

extension Shell {
    /// Lines that a shell reads at its start.
    var script: String {
        switch self {
        case .bash:
            #"""
            # bash completion for replica:  source <(replica completions bash)
            _replica() {
                local IFS=$'\n'
                local program=${COMP_WORDS[0]/#\~/$HOME} line
                local -a answers=()
                COMPREPLY=()
                while IFS= read -r line; do answers+=("$line"); done < <("$program" __complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
                if [[ ${answers[0]-} == ":files" ]]; then
                    compopt -o filenames 2>/dev/null
                    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
                    return
                fi
                COMPREPLY=("${answers[@]}")
                if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.:,] ]]; then compopt -o nospace 2>/dev/null; fi
            }
            complete -F _replica replica
            """#
        case .zsh:
            #"""
            #compdef replica
            # zsh completion for replica:  source <(replica completions zsh)
            _replica() {
                local line text
                local -a open_words open_notes whole_words whole_notes
                local program=${~words[1]}
                while IFS= read -r line; do
                    if [[ $line == ":files" ]]; then _files; return; fi
                    text=${line%%$'\t'*}
                    if [[ $text == *[=.:,] ]]; then
                        open_words+=("$text"); open_notes+=("${line/$'\t'/  -- }")
                    else
                        whole_words+=("$text"); whole_notes+=("${line/$'\t'/  -- }")
                    fi
                done < <($program __complete zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)
                (( $#open_words )) && compadd -l -S '' -M 'm:{a-zA-Z}={A-Za-z}' -d open_notes -- "${open_words[@]}"
                (( $#whole_words )) && compadd -l -M 'm:{a-zA-Z}={A-Za-z}' -d whole_notes -- "${whole_words[@]}"
            }
            if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _replica "$@"; else compdef _replica replica; fi
            """#
        case .fish:
            #"""
            # fish completion for replica:  replica completions fish | source
            function __replica_complete
                set -l words (commandline -opc)
                set -l answers ($words[1] __complete fish -- $words[2..-1] (commandline -ct) 2>/dev/null)
                if test "$answers[1]" = ":files"
                    __fish_complete_path (commandline -ct)
                else if set -q answers[1]
                    printf '%s\n' $answers
                end
            end
            complete -c replica -f -a '(__replica_complete)'
            """#
        }
    }
}
