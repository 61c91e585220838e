package install

// Example is a file of answers with every key, which ParseAnswers takes, with and without what stands behind "# ".
const Example = `disk: auto                 # the only blank one; or a path, or a serial number
# erase: WD-WX21           # the serial number of a disk that has something on it
# again: true              # also where these answers installed this ISO before
name: head1
address: 10.77.0.1/24      # or dhcp
gateway: 10.77.0.254
dns: 10.77.0.254
# nic: 52:54:00:12:34:56   # left out: the first with a link
vip: 10.77.0.100/24
mail: [admin@example.org]
mail_server: mail.example.org:25
password_hash: $6$...      # openssl passwd -6; or password: in plain text
ssh_keys:
  - ssh-ed25519 AAAA... admin
# cmdline: hugepages=64    # added to the kernel command line
# serial: true             # GRUB on the first serial port too, where a BIOS starts it
after: poweroff            # or restart, or stay; left out: poweroff
`
