"""What of STS is not offered, and why."""

from compat.operation import withheld

withheld("assertions of SAML cannot be verified here: no dependency checks XML signatures", "sts:AssumeRoleWithSAML")
withheld("there is no organization here, whose management account could do so", "sts:AssumeRoot")
