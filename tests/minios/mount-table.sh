# shellcheck shell=sh
# Mount what a table says, below a root. Used by minios' initrd; busybox's shell.
# A line of the table: SOURCE<tab>TARGET<tab>TYPE<tab>OPTIONS, parents before children.

# without NAME LIST: the comma-separated LIST without the option NAME.
without() {
  printf '%s' "$2" | tr ',' '\n' | grep -vxF "$1" | tr '\n' ',' | sed 's/,$//'
}

# mount_bind SOURCE TARGET OPTIONS: a bind takes its flags only in a second call.
mount_bind() {
  if [ -d "$1" ] || [ ! -e "$1" ]; then
    mkdir -p "$1" "$2"
  else
    mkdir -p "$(dirname "$2")"
    [ -e "$2" ] || : > "$2"
  fi
  mount -o bind "$1" "$2" || return
  flags=$(without bind "$3")
  [ -z "$flags" ] || mount -o "remount,bind,$flags" "$2"
}

# mount_table FILE ROOT
mount_table() {
  while IFS='	' read -r source target type options; do
    case ",$options," in
      *,bind,*)
        # A sealed image has none: it is made at this boot, for systemd fills an empty file.
        [ "$target" != /etc/machine-id ] || [ -e "$2$source" ] || : > "$2$source"
        mount_bind "$2$source" "$2$target" "$options"
        ;;
      *)
        mkdir -p "$2$target"
        mount -t "$type" -o "$options" "$source" "$2$target"
        ;;
    esac || { echo "minios: cannot mount $source on $target ($type, $options)"; return 1; }
  done < "$1"
}
