package configuration

// Example is what an administrator begins with. It changes nothing as long as its lines are comments.
const Example = `# The configuration of the cluster. Lines that begin with # do nothing.
# name: production
#
# vips:                              # the owner answers for these
#   - address: 10.77.0.100/24
#
# heads:
#   head1:
#     serial: [{device: /dev/ttyS1}] # a null-modem cable to the other head
#     fence: [[{device: bmc1}]]      # what switches head1 off
#   head2:
#     serial: [{device: /dev/ttyS1}]
#     fence: [[{device: bmc2}]]
#
# fence_devices:                     # masthead cluster secret bmc --file FILE
#   - {name: bmc1, agent: redfish, params: {ip: 10.77.0.11, username: admin, password: "secret:bmc"}}
#   - {name: bmc2, agent: redfish, params: {ip: 10.77.0.12, username: admin, password: "secret:bmc"}}
#
# witnesses: [n01, n02, n03]         # instead of fencing: nodes that vote
#
# services:
#   - name: web
#     resources:
#       - {name: site, ip: {address: 10.77.0.150/24, monitor_link: true}}
#       - {name: httpd, unit: {name: apache2}}
#
# mail: {server: 10.77.0.25, to: [admin@example.org]}
`
